$(eval $(call archive,supervisor,$(addprefix supervisor/,supervisor.c in_force.c home.c plan.c plan_merge.c plan_print.c plan_flow.c groups.c segments.c lane_file.c \
                                 sockets.c bind.c capabilities.c queues.c children.c orphans.c drain.c trial.c change.c reload.c request.c renew.c handover.c maker.c managed_request.c managed.c holder.c watch.c environment.c users.c owners.c)))

# The back-end xdp (packets.h): mk/xdp.mk.
PACKETS      := $(if $(XDP_BUILT),packets.c packets_interface.c packets_socket.c,packets_none.c)
PACKETS_LIBS := $(if $(XDP_BUILT),-lxdp -lbpf)
$(eval $(call bpf,supervisor/packets,supervisor/packets_program.h shm/frames_gate.h))
$(BUILD)/obj/supervisor/packets_interface.o: $(GEN)/packets.bpf.inc

$(eval $(call archive,packets,$(addprefix supervisor/,$(PACKETS))))
$(BUILD)/lib/libpackets.a: $(GEN)/xdp.choice
$(eval $(call program,libexec/millrace/supervisor,supervisor/main.c,supervisor packets supervisor stage flow config shm event base,$(PACKETS_LIBS) -lcyaml -lyaml -lck))

