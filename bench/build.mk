# Benchmarks: programs of their own, each with its reference in the same run.
$(eval $(call program,libexec/millrace/bench-stream,bench/stream.c bench/turns.c,shm,-lck))
$(eval $(call program,libexec/millrace/bench-queue,bench/queue.c bench/turns.c,shm,-lck))
$(BUILD)/obj/bench/parse.o: $(BUILD)/gen/ipevent.pb-c.h
$(eval $(call test_program,libexec/millrace/bench-parse,bench/parse.c bench/turns.c $(BUILD)/gen/ipevent.pb-c.c,ipevent json,-lprotobuf-c -ljansson))
$(eval $(call program,libexec/millrace/bench-udp,bench/udp.c bench/pipeline.c bench/turns.c,generator stage shm,-lck))
