# One archive for each part, so that a test links what it tests.
$(eval $(call archive,http_client,$(addprefix ingest/http/,client.c proxy.c)))
$(eval $(call archive,http_inflate,ingest/http/inflate.c))

HTTP_REQUEST_SOURCES := $(addprefix ingest/http/,request.c request_fields.c chunked.c octets.c)
$(eval $(call archive,http_request,$(HTTP_REQUEST_SOURCES)))

$(eval $(call archive,http_memory,$(addprefix ingest/http/,pool.c wheel.c)))
$(eval $(call archive,http_transport,ingest/uring.c $(addprefix ingest/http/,transport.c transport_ring.c transport_requests.c transport_uring.c polling.c transport_epoll.c)))
HTTP_SERVER_SOURCES := $(addprefix ingest/http/,server.c connection.c exchange.c answer.c outlet.c \
                       peers.c metrics.c routes.c) $(sort $(wildcard ingest/http/route_*.c))
$(eval $(call archive,http_server,$(HTTP_SERVER_SOURCES)))
HTTP_PARTS := http_server http_transport http_client http_inflate tokens http_request http_memory json
$(eval $(call program,libexec/millrace/ingest-http,$(addprefix ingest/http/,main.c stage.c alone.c),$(HTTP_PARTS) stage flow config shm event base,-luring -lz -lcrypto -lcyaml -lyaml -lck -pthread))
