$(eval $(call archive,objects,$(filter-out sink/objects/main.c,$(sort $(wildcard sink/objects/*.c)))))
$(eval $(call archive,pack,sink/objects/pack.c))
