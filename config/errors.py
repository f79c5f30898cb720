"""The one kind of error a user sees."""


class UserError(Exception):
    """Something the user can mend.

    Its text is one line that says what is wrong, where, and what to do. The command line prints
    it without a traceback and exits with status 1.
    """
