$(eval $(call archive,objects,$(filter-out sink/objects/main.c,$(sort $(wildcard sink/objects/*.c)))))
$(eval $(call archive,journal,$(addprefix sink/objects/,journal.c journal_blocks.c journal_check.c journal_keys.c journal_steps.c)))
$(eval $(call archive,pack,sink/objects/pack.c))
