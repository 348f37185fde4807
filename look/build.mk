$(eval $(call archive,look,look/snapshot.c))
