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

$(eval $(call archive,frame_oracle,tests/fuzz/frame_oracle.c))
$(eval $(call fuzzer,frame,tests/fuzz/frame_fuzz.c tests/fuzz/frame_oracle.c tests/fixture/packet.c ingest/udp/frame.c,,))

JSON_ORACLE := $(addprefix tests/fuzz/,json_oracle.c json_query.c json_verdict.c json_body_oracle.c json_parts_oracle.c)
JSON_FUZZED := $(JSON_ORACLE) $(JSON_SOURCES) $(wildcard event/*.c) base/text.c

$(eval $(call archive,json_oracle,$(JSON_ORACLE)))
$(eval $(call fuzzer,json,tests/fuzz/json_fuzz.c $(JSON_FUZZED),,-ljansson))
$(eval $(call fuzzer,json_body,tests/fuzz/json_body_fuzz.c $(JSON_FUZZED),,-ljansson))

$(eval $(call archive,template_oracle,tests/fuzz/template_oracle.c))
$(eval $(call fuzzer,template,tests/fuzz/template_fuzz.c tests/fuzz/template_oracle.c $(wildcard event/*.c) base/text.c,,-ljansson))

$(eval $(call fuzzer,config,tests/fuzz/config_fuzz.c $(wildcard config/*.c) base/address.c base/log.c base/output.c base/path.c event/layout.c shm/segment.c shm/folder.c shm/instance.c \
  base/text.c base/word.c,,-lcyaml -lyaml))

HTTP_ORACLE := $(addprefix tests/fuzz/,http_oracle.c http_oracle_chunked.c)

$(eval $(call archive,http_oracle,$(HTTP_ORACLE)))
$(eval $(call fuzzer,http,tests/fuzz/http_fuzz.c $(HTTP_ORACLE) $(HTTP_REQUEST_SOURCES),,-lhttp_parser))

$(eval $(call archive,reply_oracle,tests/fuzz/reply_oracle.c))
$(eval $(call fuzzer,reply,tests/fuzz/reply_fuzz.c tests/fuzz/reply_oracle.c deliver/reply.c,,-lhttp_parser))

$(eval $(call fuzzer,s3,tests/fuzz/s3_fuzz.c $(addprefix sink/objects/,xml.c s3_list.c credentials_text.c),,-ljansson -lcrypto))
$(eval $(call fuzzer,journal,tests/fuzz/journal_fuzz.c tests/fixture/journal.c $(wildcard sink/objects/journal*.c) base/log.c base/output.c base/text.c event/layout.c \
  $(wildcard shm/*.c) base/thread.c,,-lck))

$(eval $(call fuzzer,guard,tests/fuzz/guard_fuzz.c deliver/guard_entry.c deliver/names_text.c base/address.c,,))
$(eval $(call fuzzer,target,tests/fuzz/target_fuzz.c $(addprefix deliver/,authority.c data.c target.c) $(JSON_SOURCES) event/layout.c shm/segment.c shm/folder.c base/text.c,,\
  -ljansson -lcurl -lidn2))

# What fuzzers of events need: the payloads, and how they come out.
EVENT_FUZZED := $(wildcard event/*.c) base/text.c

$(eval $(call fuzzer,answer,tests/fuzz/answer_fuzz.c $(addprefix sink/objects/,s3_answer.c azure_answer.c azure_token.c cloud.c http.c xml.c checksum.c) stage/certificates.c \
  $(wildcard config/*.c) base/address.c base/log.c base/output.c base/path.c base/word.c shm/segment.c shm/folder.c shm/instance.c event/layout.c base/text.c,,\
  -lcurl -lcrypto -lssl -lisal -ljansson -lcyaml -lyaml))
$(eval $(call fuzzer,tracking,tests/fuzz/tracking_fuzz.c tests/fixture/track_make.c $(wildcard enrich/track/*.c) $(EVENT_FUZZED),,-ljansson))
$(eval $(call fuzzer,event,tests/fuzz/event_fuzz.c $(EVENT_FUZZED),,-ljansson))
$(eval $(call fuzzer,stream,tests/fuzz/stream_fuzz.c tests/fixture/sandbox.c $(EVENT_FUZZED) $(wildcard shm/*.c) base/thread.c base/log.c base/output.c,,-lck -ljansson))
$(eval $(call fuzzer,redo,tests/fuzz/redo_fuzz.c,,))
$(eval $(call fuzzer,mmdb,tests/fuzz/mmdb_fuzz.c tests/fixture/mmdb_make.c $(addprefix enrich/geo/,geo.c base.c entry.c source.c special.c) stage/signature.c base/log.c \
  base/output.c base/text.c event/layout.c shm/segment.c shm/folder.c,,-lmaxminddb))
$(eval $(call fuzzer,files,tests/fuzz/files_fuzz.c tests/fixture/sandbox.c deliver/names_file.c $(addprefix sink/objects/,index.c spool_file.c checksum.c) stage/tokens.c \
  $(addprefix base/,address.c log.c output.c path.c text.c thread.c) event/layout.c shm/segment.c shm/folder.c,,-lcrypto -ljansson -lisal -pthread))
$(eval $(call fuzzer,request,tests/fuzz/request_fuzz.c $(addprefix serve/,request.c router.c live_wish.c) base/moment.c $(EVENT_FUZZED),,-ljansson))
$(eval $(call fuzzer,rules,tests/fuzz/rules_fuzz.c enrich/agent/rules.c base/text.c,,-lyaml))
$(eval $(call fuzzer,inflate,tests/fuzz/inflate_fuzz.c ingest/http/inflate.c,,-lz))
$(eval $(call fuzzer,agent,tests/fuzz/agent_fuzz.c $(addprefix enrich/agent/,agent.c words.c matcher.c literals.c known.c rules.c) base/text.c,,-lhs -lpcre2-8 -lyaml))
$(eval $(call fuzzer,proxy,tests/fuzz/proxy_fuzz.c $(addprefix ingest/http/,client.c proxy.c) $(HTTP_REQUEST_SOURCES),,))
