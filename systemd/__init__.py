"""How millsight is installed and kept alive: units, bundle, installer, upgrade.

Runs under Debian's own Python with nothing but its standard library: it makes the virtual
environments that everything else lives in.
"""
