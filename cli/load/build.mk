# The generator and the clients stand apart: benchmarks and tests use them too.
LIVE      := $(if $(XDP_BUILT),live.c,live_none.c)
$(eval $(call bpf,cli/load/live,cli/load/live_program.h))
$(BUILD)/obj/cli/load/live.o: $(GEN)/live.bpf.inc
$(eval $(call archive,generator,$(addprefix cli/load/,generator.c generator_message.c pace.c send_udp.c send_xdp.c send_frame.c link.c transmit.c $(LIVE))))
$(eval $(call archive,send_http,$(addprefix cli/load/,send_http.c send_http_answer.c send_http_connection.c send_http_request.c)))
$(BUILD)/lib/libgenerator.a: $(GEN)/xdp.choice
