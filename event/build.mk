$(eval $(call archive,event,$(wildcard event/*.c)))
