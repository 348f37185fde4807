JSON_SOURCES := $(addprefix ingest/json/,scan.c scan_value.c json_object.c json_cut.c json_event.c json_metric.c json_log.c \
                  json_track.c json_params.c json_batch.c json_postback.c json_url.c)

$(eval $(call archive,json,$(JSON_SOURCES)))
$(eval $(call archive,ipevent,ingest/udp/ipevent.c))
