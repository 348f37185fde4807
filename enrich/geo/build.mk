$(eval $(call archive,geo,$(addprefix enrich/geo/,geo.c base.c entry.c source.c special.c)))
