"""Settings of a site: their keys, defaults and errors. Depends on nothing else here."""
