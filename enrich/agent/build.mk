$(eval $(call archive,agent,$(addprefix enrich/agent/,agent.c words.c matcher.c literals.c known.c rules.c cache.c sketch.c keyed_hash.c)))
