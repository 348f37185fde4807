$(eval $(call archive,look,look/average.c look/exposition.c look/flow.c look/json.c look/peaks.c look/process.c look/prometheus.c \
  look/prometheus_accept.c look/rates.c look/sinks.c look/snapshot.c))
