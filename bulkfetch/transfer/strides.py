"""How much of a body is read, told, journalled and synced at a time, however many workers bring it."""

CHUNK = 1024 * 1024  # largest read
PAGE_START = 64  # bytes by which a page is told
EVENT_EVERY = 0.1  # seconds between progress events of one file
JOURNALLED = 1024 * 1024  # bytes of a file that may be missing in the journal
SYNC_EVERY = 256 * 1024 * 1024  # bytes between points from which a file goes on after power loss
