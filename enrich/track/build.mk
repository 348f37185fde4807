$(eval $(call archive,track,enrich/track/track.c enrich/track/privacy.c))
