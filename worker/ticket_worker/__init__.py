"""The processes: the only room that knows the environment, SMTP and the command line."""

import os

# Celery reads it once, when it is first imported, so it stands before everything else. SIGTERM then means: finish what
# runs, for a bounded time, and give the rest back. Without it a worker waits for its longest job, and what stops it in
# the end is the SIGKILL that loses messages.
os.environ.setdefault("REMAP_SIGTERM", "SIGQUIT")
