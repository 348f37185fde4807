# A format is a row of formats.def and a file.
UDP_FORMATS := $(sort $(wildcard ingest/udp/format_*.c))
$(eval $(call archive,udp,ingest/uring.c $(addprefix ingest/udp/,buffers.c receive.c receive_uring.c receive_mmsg.c batch.c format.c frame.c xdp.c udp.c alone.c) \
	$(UDP_FORMATS)))
$(eval $(call program,libexec/millrace/ingest-udp,ingest/udp/main.c,udp ipevent json stage flow config shm event base,-luring -lcyaml -lyaml -lck -pthread))
