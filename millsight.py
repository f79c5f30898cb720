"""The front door: `millsight`, whose commands are loaded only when they are asked for."""

import os
import sqlite3
import sys

from cyclopts import App

from config.errors import UserError

app = App(
    name="millsight",
    help="Inspect milled steel, ask when unsure, learn every night.",
    version_flags=["--version"],
)
app.command("config.cli:app", name="config", help="Write, check and show the settings.")
app.command("device.cli:app", name="device", help="Inspect: run the loop, see its state.")
app.command("device.doctor.cli:doctor", name="doctor", help="Check the whole box.")
app.command("device.recipe_cli:app", name="recipe", help="Recipes: list, add, edit, select.")
app.command("device.machine.plant:plant", name="plant", help="Tell the plant: MQTT, OPC UA.")
app.command("device.review.cli:review", name="review", help="Serve the operators' touch page.")
app.command("device.review.people_cli:app", name="people", help="PINs, password, who did what.")
app.command("trainer.cli:app", name="trainer", help="Train models from labelled patches.")
app.command("export.cli:app", name="export", help="Look into model files.")
app.command("camera.cli:app", name="camera", help="See what the camera sees.")
app.command("trainer.bench.cli:app", name="bench", help="Measure speed, memory and growth.")
app.command("trainer.demo.life:demo", name="demo", help="Live a compressed life on this machine.")


def main() -> None:
    """Run the command line; what a user can mend is one line on stderr and exit status 1."""
    try:
        app()
    except UserError as error:
        sys.exit(f"millsight: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # `millsight … | head`: nobody reads on, and that is no fault
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:  # a full disk, a folder that may not be written
        sys.exit(f"millsight: {error.filename or 'reading or writing'}: {error.strerror or error}")
    except sqlite3.DatabaseError as error:
        from device.store.database import advice_for  # noqa: PLC0415

        if (advice := advice_for(error)) is None:
            raise
        sys.exit(f"millsight: the store: {error}: {advice}")


if __name__ == "__main__":
    main()
