$(eval $(call archive,look,look/json.c look/rates.c look/snapshot.c))
