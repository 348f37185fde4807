# Benchmarks: programs of their own, each with its reference in the same run.
$(eval $(call program,libexec/millrace/bench-stream,bench/stream.c bench/options.c bench/round_trip.c bench/turns.c,stage flow config shm event base,-lck))
$(eval $(call program,libexec/millrace/bench-queue,bench/queue.c bench/options.c bench/round_trip.c bench/turns.c,stage flow config shm event base,-lck))
$(BUILD)/obj/bench/parse.o: $(BUILD)/gen/ipevent.pb-c.h
$(eval $(call test_program,libexec/millrace/bench-parse,bench/parse.c bench/options.c bench/turns.c $(BUILD)/gen/ipevent.pb-c.c,ipevent json http_request,-lprotobuf-c -ljansson -lhttp_parser))
$(eval $(call program,libexec/millrace/bench-udp,bench/udp.c bench/packets.c bench/lab.c bench/pipeline.c bench/cpu.c bench/port.c bench/options.c bench/turns.c,generator stage flow config shm event base,$(LIBBPF) -lck))
# The lab of `bench udp --backend xdp`, where the installed program finds it, and its reference, which needs libxdp: XDP=0 builds without.
PROGRAMS += $(BUILD)/libexec/millrace/packet-lab
$(BUILD)/libexec/millrace/packet-lab: scripts/packet-lab
	@mkdir -p $(@D)
	@install -m 755 $< $@
ifeq ($(XDP_BUILT),1)
$(eval $(call program,libexec/millrace/bench-packets-bare,bench/packets_bare.c bench/options.c,base,-lxdp -lbpf))
endif
$(eval $(call program,libexec/millrace/bench-enrich,$(addprefix bench/,enrich.c enrich_channel.c agents.c options.c turns.c),enrich track geo data_file agent stage flow config shm event base,-lcyaml -lck -pthread -lmaxminddb -lhs -lpcre2-8 -lyaml))
$(eval $(call program,libexec/millrace/bench-objects,$(addprefix bench/,objects.c objects_receiver.c lines.c options.c turns.c),objects stage flow config shm event base,-lisal -lzstd -lz -lcurl -lcrypto -ljansson -lcyaml -lyaml -lck -pthread))
$(eval $(call test_program,libexec/millrace/bench-enrich-agent,bench/enrich_agent.c bench/agents.c bench/options.c bench/turns.c,agent data_file base,-lhs -lpcre2-8 -lyaml))
$(eval $(call test_program,libexec/millrace/bench-journal,bench/journal.c bench/options.c bench/turns.c,objects stage flow config shm event base,-lck))
# Not installed: they need nginx, wrk and slowhttptest, and a script of this tree. make bench-http runs them.
$(eval $(call test_program,libexec/millrace/bench-http,bench/http.c bench/http_steer.c bench/http_server.c bench/cpu.c bench/port.c bench/options.c bench/turns.c,look stage flow config shm event base,-lck -lcyaml -lyaml))
$(eval $(call test_program,libexec/millrace/bench-http-slow,bench/http_slow.c bench/http_server.c bench/cpu.c bench/port.c bench/options.c bench/turns.c,send_http generator look stage flow config shm event base,-ljansson -lck -lcyaml -lyaml -lm))
$(eval $(call program,libexec/millrace/bench-kafka,bench/kafka.c bench/options.c bench/turns.c,kafka stage flow config shm event base,-lrdkafka -ljansson -lcyaml -lyaml -lck -pthread))
$(eval $(call program,libexec/millrace/bench-tally,$(addprefix bench/,tally.c options.c turns.c),tally stage flow config shm event base,-lsqlite3 -ljansson -lcyaml -lyaml -lck -pthread -lm))
$(BUILD)/obj/bench/deliver.o: bench/deliver_go.go
$(eval $(call program,libexec/millrace/bench-deliver,$(addprefix bench/,deliver.c deliver_bare.c deliver_plain.c deliver_stage.c http_server.c cpu.c port.c options.c turns.c),deliver look stage flow config shm event base,-lcurl -lz -lcrypto -ljansson -lcyaml -lyaml -lck))
# Not installed, and built for `make bench` alone: it needs the clients of Redis and NATS.
$(eval $(call link_rule,$(BUILD)/libexec/millrace/bench-hop,$(addprefix bench/,hop.c hop_server.c hop_topic.c hop_pipe.c hop_redis.c hop_nats.c hop_kafka.c pipeline.c cpu.c port.c options.c turns.c),millrace_static stage flow config shm event base,-lhiredis -lnats -lrdkafka -lck -pthread))
