"""The workshop's page: the contest for students, the board for the teacher."""
