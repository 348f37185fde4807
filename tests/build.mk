# Unit tests: tests/<folder>/<name>_test.c for what lies in <folder>, the archives they need, further libraries.
$(BUILD)/tests/cli/arguments_test: $(BUILD)/obj/cli/arguments.o $(BUILD)/lib/libbase.a
# What tests share. Each test links the fixtures that it uses, and lists the archives that those need.
$(eval $(call archive,fixture,$(wildcard tests/fixture/*.c)))

ENRICH_TEST_LIBS := -lcyaml -lck -pthread $(ENRICH_LIBS)

$(eval $(call unit,base/address,stage flow config shm event base,))
$(eval $(call unit,base/log,stage flow config shm event base,))
$(eval $(call unit,base/word,base,))
$(eval $(call unit,base/siphash,,))
$(eval $(call unit,base/program,base,))

$(eval $(call unit,shm/record,shm event base,))
$(eval $(call unit,shm/stream,shm event base,-lck))
$(eval $(call unit,shm/stream_process,shm event base,-lck))
$(eval $(call unit,shm/topic,shm event base,-lck))
$(eval $(call unit,shm/folder,shm event base,-lck))
$(eval $(call unit,shm/topic_join,shm event base,-lck))
$(eval $(call unit,shm/bell,shm event base,-lck))
$(eval $(call unit,shm/bell_poll,shm event base,-lck))
$(eval $(call unit,shm/lane,shm event base,-lck))
$(eval $(call unit,shm/queue,shm event base,-lck))
$(eval $(call unit,shm/queue_repair,shm event base,-lck))
$(eval $(call unit,shm/queue_random,shm event base,-lck))
$(eval $(call unit,shm/queue_gap,shm event base,-lck))
$(eval $(call unit,shm/queue_crash,shm event base,-lck))
$(eval $(call unit,shm/queue_look,shm event base,-lck))

$(eval $(call unit,event/event,shm event base,-ljansson))
$(eval $(call unit,event/http,shm event base,-ljansson))
$(eval $(call unit,event/encode,track shm event base,-ljansson))
$(eval $(call unit,event/filter,event shm base,-ljansson))
$(eval $(call unit,event/template,template_oracle track shm event base,-ljansson))

$(eval $(call unit,config/config,stage flow config shm event base,-lcyaml -lyaml))
$(eval $(call unit,config/values,stage flow config shm event base,-lcyaml -lyaml))
$(BUILD)/obj/tests/config/kinds_test.o: $(GEN)/options.list
$(eval $(call unit,config/kinds,stage flow config shm event base,-lcyaml -lyaml))

$(eval $(call unit,stage/stage,stage flow config shm event base,-lcyaml -lyaml -lck))
$(eval $(call unit,stage/ports,stage flow config shm event base,-lcyaml -lyaml -lck))
$(eval $(call unit,stage/settle,stage flow config shm event base,-lcyaml -lyaml -lck))
$(eval $(call unit,stage/control_note,stage flow config shm event base,))
$(eval $(call unit,stage/file,stage flow config shm event base,-lcyaml -lyaml -lck))
$(eval $(call unit,stage/lock,stage flow config shm event base,-lcyaml -lyaml -lck))
$(eval $(call unit,stage/records,stage flow config shm event base,))

$(eval $(call unit,ingest/udp/ipevent,ipevent ipevent_oracle,-lprotobuf-c))
$(eval $(call unit,ingest/udp/ipevent_random,ipevent ipevent_oracle,-lprotobuf-c))
$(eval $(call unit,ingest/udp/buffers,udp ipevent json stage flow config shm event base,-luring -lcyaml -lyaml -lck))
$(eval $(call unit,ingest/udp/udp,udp ipevent json stage flow config shm event base,-luring -lcyaml -lyaml -lck))
$(eval $(call unit,ingest/udp/wait,udp ipevent json stage flow config shm event base,-luring -lcyaml -lyaml -lck -pthread))
$(eval $(call unit,ingest/udp/crash,udp ipevent json stage flow config shm event base,-luring -lcyaml -lyaml -lck))

$(eval $(call unit,flow/flow,stage flow config shm event base,))

$(eval $(call unit,ingest/json/scan,json_oracle json shm event base,-ljansson))
$(eval $(call unit,ingest/json/event,json_oracle json shm event base,-ljansson))
$(eval $(call unit,ingest/json/body,json_oracle json shm event base,-ljansson))
$(eval $(call unit,ingest/json/batch,json_oracle json shm event base,-ljansson))
$(eval $(call unit,ingest/json/postback,json_oracle json shm event base,-ljansson))

$(eval $(call unit,ingest/http/request,http_oracle http_request,-lhttp_parser))
$(eval $(call unit,ingest/http/random,http_oracle http_request,-lhttp_parser))
$(eval $(call unit,ingest/http/chunked,http_oracle http_request,-lhttp_parser))
$(eval $(call unit,ingest/http/client,http_client http_request,))
$(eval $(call unit,ingest/http/proxy,http_client http_request,))
$(eval $(call unit,ingest/http/inflate,http_inflate,-lz))
$(eval $(call unit,ingest/http/tokens,http_tokens stage flow config shm event base,-lcrypto -Xlinker --wrap=CRYPTO_memcmp))
$(eval $(call unit,ingest/http/pool,http_memory,))
$(eval $(call unit,ingest/http/wheel,http_memory,))
$(eval $(call unit,ingest/http/transport,http_transport stage flow config shm event base,-luring -pthread))
$(eval $(call unit,ingest/http/transport_ends,http_transport stage flow config shm event base,-luring))
$(eval $(call unit,ingest/http/transport_limits,http_transport stage flow config shm event base,-luring))
$(eval $(call unit,ingest/http/transport_polling,http_transport stage flow config shm event base,-luring))
$(eval $(call unit,ingest/http/server,$(HTTP_PARTS) stage flow config shm event base,-luring -lz -lcrypto -lck))
$(eval $(call unit,ingest/http/answers,$(HTTP_PARTS) stage flow config shm event base,-luring -lz -lcrypto -lck))
$(eval $(call unit,ingest/http/routes,$(HTTP_PARTS) stage flow config shm event base,-luring -lz -lcrypto -lck))

$(eval $(call unit,enrich/lookup,$(ENRICH_PARTS) stage flow config shm event base,$(ENRICH_TEST_LIBS)))
$(eval $(call unit,enrich/enrich,$(ENRICH_PARTS) stage flow config shm event base,$(ENRICH_TEST_LIBS)))
$(eval $(call unit,enrich/crash,$(ENRICH_PARTS) stage flow config shm event base,$(ENRICH_TEST_LIBS)))
$(eval $(call unit,enrich/step,$(ENRICH_PARTS) stage flow config shm event base,$(ENRICH_TEST_LIBS)))

$(eval $(call unit,enrich/data/data_file,data_file base,))

$(eval $(call unit,enrich/geo/geo,geo stage flow config shm event base,-lmaxminddb))
$(eval $(call unit,enrich/geo/replace,geo stage flow config shm event base,-lmaxminddb))
$(eval $(call unit,enrich/geo/limits,geo stage flow config shm event base,-lmaxminddb))
$(eval $(call unit,enrich/geo/oracle,geo data_file stage flow config shm event base,-lmaxminddb))

$(eval $(call unit,enrich/agent/agent,agent,-lhs -lpcre2-8 -lyaml))
$(eval $(call unit,enrich/agent/rules,agent,-lhs -lpcre2-8 -lyaml))
$(eval $(call unit,enrich/agent/literals,agent,-lhs -lpcre2-8 -lyaml))
$(eval $(call unit,enrich/agent/cache,agent,-lhs -lpcre2-8 -lyaml))
$(eval $(call unit,enrich/agent/uap,agent,-lhs -lpcre2-8 -lyaml))
$(eval $(call unit,enrich/agent/type,agent,-lhs -lpcre2-8 -lyaml -ljansson))

$(eval $(call unit,enrich/track/line,track shm event base,))
$(eval $(call unit,enrich/track/json,track shm event base,-ljansson))
$(eval $(call unit,enrich/track/privacy,track shm event base,-ljansson))

$(eval $(call unit,sink/tally/counts,tally shm event base,))
$(eval $(call unit,sink/tally/store,tally shm event base,-lsqlite3 -lck -pthread))
$(eval $(call unit,sink/tally/store_files,tally shm event base,-lsqlite3 -lck -pthread))
$(eval $(call unit,sink/tally/report,tally shm event base,-lsqlite3 -ljansson -lck -pthread))
$(eval $(call unit,sink/tally/crash,tally stage flow config shm event base,-lsqlite3 -ljansson -lcyaml -lyaml -lck -pthread))

$(eval $(call unit,sink/objects/http,objects shm event base,-lcurl -lssl -lcrypto -pthread))
$(eval $(call unit,sink/objects/journal,journal stage flow config shm event base,-lcyaml -lyaml -lck))

$(eval $(call unit,supervisor/plan,supervisor stage flow config shm event base,-lcyaml -lyaml -lck))
$(BUILD)/obj/tests/supervisor/plan_entries_test.o: $(GEN)/options.list
$(eval $(call unit,supervisor/plan_entries,supervisor stage flow config shm event base,-lcyaml -lyaml -lck))
$(eval $(call unit,supervisor/sockets,supervisor stage flow config shm event base,-lcyaml -lyaml -lck))
$(eval $(call unit,supervisor/sockets_stream,supervisor stage flow config shm event base,-lcyaml -lyaml -lck))
$(eval $(call unit,supervisor/segments,supervisor stage flow config shm event base,-lcyaml -lyaml -lck))
$(eval $(call unit,supervisor/orphans,supervisor stage flow config shm event base,-lcyaml -lyaml -lck))
$(eval $(call unit,supervisor/watch,supervisor stage flow config shm event base,-lcyaml -lyaml -lck))
$(eval $(call unit,supervisor/queues,supervisor stage flow config shm event base,-lcyaml -lyaml -lck))

$(eval $(call unit,cli/arguments,,$(BUILD)/obj/cli/arguments.o $(BUILD)/lib/libbase.a))
$(eval $(call unit,look/snapshot,look stage flow config shm event base,-lcyaml -lyaml -lck))
$(eval $(call unit,look/rates,look stage flow config shm event base,-ljansson -lck))
$(eval $(call unit,cli/clean,clean supervisor stage flow config shm event base,-lcyaml -lyaml -lck))
$(eval $(call unit,cli/load/generator,generator ipevent json shm event base,-ljansson))
$(eval $(call unit,cli/load/send_http,send_http generator shm event base,-ljansson -lm))
$(eval $(call unit,cli/load/send_http_request,send_http generator shm event base,-ljansson -lm))

$(eval $(call unit,lib/millrace,millrace_static shm event base,-lck))

# Programs that tests start.
$(eval $(call test_program,tests/mmdb_tool,tests/tool/mmdb_tool.c,fixture,))
$(eval $(call test_program,tests/outside_writer,tests/tool/outside_writer.c,millrace_static shm event base,-lck -pthread))
$(eval $(call test_program,tests/queue_tool,tests/tool/queue_tool.c,fixture shm event base,-lck))
$(eval $(call test_program,tests/fake_stage,tests/tool/fake_stage.c,stage flow config shm event base,-lck))
