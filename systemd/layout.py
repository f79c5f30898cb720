"""Where things are on an appliance."""

from dataclasses import dataclass
from pathlib import Path

USER = "millsight"
KIOSK_USER = "millsight-kiosk"


@dataclass(frozen=True, slots=True)
class Layout:
    """The folders of an appliance; `root` is another one than / for an image that is built."""

    root: Path = Path("/")

    @property
    def versions(self) -> Path:
        """A folder per version, and the links `current` and `previous`."""
        return self.root / "opt/millsight"

    @property
    def current(self) -> Path:
        """The version that the services run."""
        return self.versions / "current"

    @property
    def previous(self) -> Path:
        """The version before it."""
        return self.versions / "previous"

    @property
    def settings(self) -> Path:
        """The settings file."""
        return self.root / "etc/millsight/millsight.toml"

    @property
    def data(self) -> Path:
        """Where the data lies unless the settings name another folder."""
        return self.root / "var/lib/millsight"

    @property
    def units(self) -> Path:
        """The services; what a site adds stands in /etc/systemd/system/<unit>.d and stays."""
        return self.root / "usr/local/lib/systemd/system"

    @property
    def command(self) -> Path:
        """`millsight` on everybody's path."""
        return self.root / "usr/local/bin/millsight"

    @property
    def upgrade_command(self) -> Path:
        """`millsight-upgrade` on root's path."""
        return self.root / "usr/local/sbin/millsight-upgrade"

    @property
    def pam(self) -> Path:
        """The kiosk's session."""
        return self.root / "etc/pam.d/millsight-kiosk"

    @property
    def browser_policy(self) -> Path:
        """What Chromium lets nobody do."""
        return self.root / "etc/chromium/policies/managed/millsight.json"

    def version_of(self, link: Path) -> str | None:
        """The version that a link names; None: there is none."""
        return link.readlink().name if link.is_symlink() else None
