"""A release in the form that an updater takes which is on the boards already."""
