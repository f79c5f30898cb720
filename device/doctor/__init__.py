"""`millsight doctor`: what is wrong with this box, and how to mend it; a file for every check."""
