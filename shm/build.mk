$(eval $(call archive,shm,$(wildcard shm/*.c)))
