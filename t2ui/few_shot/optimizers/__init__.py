"""Search methods, one file each; registered in `t2ui.catalogue.SEARCH_METHODS`."""
