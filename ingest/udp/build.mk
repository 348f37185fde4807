$(eval $(call archive,udp,ingest/uring.c $(addprefix ingest/udp/,buffers.c receive.c receive_uring.c receive_mmsg.c batch.c udp.c udp_stage.c)))
$(eval $(call program,libexec/millrace/ingest-udp,ingest/udp/main.c,udp ipevent json stage flow config shm event base,-luring -lcyaml -lyaml -lck -pthread))
