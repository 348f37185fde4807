$(eval $(call archive,json,$(addprefix ingest/json/,scan.c scan_value.c json_event.c)))
$(eval $(call archive,ipevent,ingest/udp/ipevent.c))
