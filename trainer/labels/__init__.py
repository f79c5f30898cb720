"""Labels that devices sent: merged, checked, sorted into those that teach and those that judge."""
