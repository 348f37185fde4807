# Fuzzers and the oracles that they and the unit tests judge by. `make fuzz` runs each for a while on its corpus.

IPEVENT_PB := $(BUILD)/gen/ipevent.pb-c

$(IPEVENT_PB).c: tests/fuzz/ipevent.proto
	@mkdir -p $(@D)
	$(call say,PROTOC,$@)
	$(Q)protoc-c --proto_path=$(<D) --c_out=$(@D) $(<F)

$(IPEVENT_PB).h: $(IPEVENT_PB).c ;

$(BUILD)/obj/tests/fuzz/ipevent_oracle.o: $(IPEVENT_PB).h

$(eval $(call archive,ipevent_oracle,tests/fuzz/ipevent_oracle.c $(IPEVENT_PB).c))
$(eval $(call fuzzer,ipevent,tests/fuzz/ipevent_fuzz.c tests/fuzz/ipevent_oracle.c ingest/udp/ipevent.c $(IPEVENT_PB).c,,-lprotobuf-c))

$(eval $(call archive,json_oracle,tests/fuzz/json_oracle.c))
$(eval $(call fuzzer,json,tests/fuzz/json_fuzz.c tests/fuzz/json_oracle.c $(addprefix ingest/json/,scan.c scan_value.c json_event.c),,-ljansson))

$(eval $(call fuzzer,config,tests/fuzz/config_fuzz.c $(wildcard stage/config*.c) stage/address.c shm/segment.c shm/event_text.c,,-lcyaml -lyaml))
