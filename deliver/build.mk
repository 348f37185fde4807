$(eval $(call archive,deliver,$(filter-out deliver/main.c,$(sort $(wildcard deliver/*.c)))))
