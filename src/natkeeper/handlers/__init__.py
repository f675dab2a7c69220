"""Lambda's entries. What they import and make at cold start is a million objects, of which none is garbage: nothing is
collected meanwhile. Each handler's module ends that when it is ready (`gc.enable`)."""

import gc

gc.disable()
