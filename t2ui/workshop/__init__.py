"""A workshop: what the teacher's file says of it, who sits where, and the contest.

`file` reads the file, `seats` knows who is there, `contest` what was handed in. Plain data and
rules; knows no page, no HTTP and no model. The worker scores, `t2ui.http.workshop` opens the doors.
"""
