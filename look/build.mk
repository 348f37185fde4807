$(eval $(call archive,look,look/average.c look/json.c look/peaks.c look/process.c look/prometheus.c look/rates.c look/sinks.c look/snapshot.c))
