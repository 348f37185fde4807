$(eval $(call archive,look,look/average.c look/json.c look/process.c look/rates.c look/sinks.c look/snapshot.c))
