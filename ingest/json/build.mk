JSON_SOURCES := $(addprefix ingest/json/,scan.c scan_value.c object.c json_cut.c json_event.c json_metric.c json_log.c \
                  json_track.c event.c json_batch.c postback.c url.c)

$(eval $(call archive,json,$(JSON_SOURCES)))
$(eval $(call archive,ipevent,ingest/udp/ipevent.c))
