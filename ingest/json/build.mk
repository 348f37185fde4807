JSON_SOURCES := $(addprefix ingest/json/,scan.c object.c event.c postback.c url.c)

$(eval $(call archive,json,$(JSON_SOURCES)))
$(eval $(call archive,ipevent,ingest/udp/ipevent.c))
