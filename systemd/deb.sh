#!/bin/sh
# Wraps a bundle into a Debian package: systemd/deb.sh dist/millsight-VERSION.bundle
# The package carries the bundle; installing it does what `millsight-install install` does.
set -eu
bundle=$1
version=$(tar -xOf "$bundle" VERSION)
architecture=$(dpkg --print-architecture)
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
chmod 755 "$tree"
place=$tree/usr/share/millsight
mkdir -p "$place" "$tree/DEBIAN"
cp "$bundle" "$place/millsight.bundle"
cp -r "$(dirname "$0")" "$place/systemd"
rm -rf "$place/systemd/__pycache__"

cat >"$tree/DEBIAN/control" <<END
Package: millsight
Version: $version
Architecture: $architecture
Maintainer: millsight <millsight@localhost>
Depends: python3 (>= 3.11), python3-venv, systemd (>= 252), passwd, libc-bin
Recommends: cage, chromium, fonts-noto-cjk
Suggests: libaravis-0.8-0, gir1.2-aravis-0.8, python3-gi
Section: science
Priority: optional
Description: Edge inspection appliance for milled steel
 Judges every plate, asks when unsure, retrains at night.
END

cat >"$tree/DEBIAN/postinst" <<'END'
#!/bin/sh
set -e
cd /usr/share/millsight
# Upgrades too: a version that is not well goes back by itself, and then the package is not
# configured.
[ "$1" != configure ] || python3 -B -m systemd.install install millsight.bundle
END

cat >"$tree/DEBIAN/prerm" <<'END'
#!/bin/sh
set -e
cd /usr/share/millsight
[ "$1" != remove ] || python3 -B -m systemd.install uninstall
END

cat >"$tree/DEBIAN/postrm" <<'END'
#!/bin/sh
set -e
[ "$1" = purge ] || exit 0
rm -rf /var/lib/millsight /etc/millsight
for user in millsight millsight-kiosk; do
    ! getent passwd "$user" >/dev/null || userdel "$user"
done
END
chmod 755 "$tree"/DEBIAN/p*
deb=$(dirname "$bundle")/millsight_${version}_$architecture.deb
dpkg-deb --root-owner-group -Znone --build "$tree" "$deb"
