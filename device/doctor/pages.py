"""Do the touch pages answer?"""

import http.client
from collections.abc import Iterator

from device.doctor.finding import Box, Finding

TIMEOUT_S = 5


def look(box: Box) -> Iterator[Finding]:
    """Ask for `/up` as a browser would."""
    review = box.settings.review
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(review.host, review.host)  # noqa: S104
    connection = http.client.HTTPConnection(host, review.port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/up", headers={"Host": f"127.0.0.1:{review.port}"})
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        yield Finding.fault(
            f"{host}:{review.port}: no answer ({error})",
            "journalctl -u millsight-review -n 50, or start them: millsight review",
        )
        return
    finally:
        connection.close()
    if status == 204:
        yield Finding.ok(f"{host}:{review.port} answers")
    else:
        yield Finding.fault(f"{host}:{review.port}: something else answers there", "review.port")
