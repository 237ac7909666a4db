# SPDX-License-Identifier: MIT
#
# rproxy: a Lua-scriptable reverse proxy. `make help` lists what can be done here.
#
#   make run                   install what is missing, build, serve the example on this machine
#   make test                  everything a change must pass
#   make test T=spec/unit/base/str_spec.lua      one spec, on both builds
#   make BUILD=build/me FLOORS="base http" lib   only some floors, in a folder of one's own
#
# MODE=debug: ASan + UBSan, assertions on. LTO=1: link-time optimisation. WERROR=1: warnings fail
# (of MODE=opt: sanitizers bring about warnings of their own).
# PGO=train, PGO=use: the two halves of `make pgo`.

SHELL := /bin/bash
.DELETE_ON_ERROR:
.DEFAULT_GOAL := all
MAKEFLAGS += --no-builtin-rules

VERSION := 0.1.0
MODE ?= opt
BUILD ?= build$(if $(filter debug,$(MODE)),/debug)
CC := $(if $(filter default,$(origin CC)),cc,$(CC))
CLANG ?= clang
LUAJIT ?= luajit
PREFIX ?= /usr/local
EXAMPLE ?= hello
JOBS ?= 2
FUZZ_SECONDS ?= 60
FUZZ_FLOORS ?= base net shm http proxy

# ---------------------------------------------------------------- what is built from what

# Libraries that the sources use now; a name joins when its doorkeeper file does (docs: design).
LIBS := libuv luajit libpcre2-8 libssl libcrypto libcares libnghttp2 zlib libargon2 libcrypt
SOURCES := $(sort $(shell find runtime -name '*.c'))
HEADERS := $(sort $(shell find runtime -name '*.h' -o -name '*.tbl'))
# types/ is text for `rproxy types`, no module.
LUA_LAYER := $(sort $(shell find lua plugins types -name '*.lua' ! -name '*_spec.lua' 2>/dev/null))
LIB_FLOORS := $(if $(FLOORS),$(FLOORS),$(notdir $(patsubst %/,%,$(dir $(wildcard runtime/*/.)))))
LIB_SOURCES := $(filter $(patsubst %,runtime/%/%,$(LIB_FLOORS)),$(SOURCES))

OBJ := $(BUILD)/obj
EMBED_C := $(BUILD)/gen/embed.c
EMBED_O := $(OBJ)/gen/embed.o
OBJECTS := $(SOURCES:%.c=$(OBJ)/%.o) $(EMBED_O)
LIB_OBJECTS := $(LIB_SOURCES:%.c=$(OBJ)/%.o) $(if $(filter script,$(LIB_FLOORS)),$(EMBED_O))
BIN := $(BUILD)/rproxy
LIB := $(BUILD)/librproxy_test.so

# pkg-config may not be installed yet when this file is read: ask it once, at first use.
PKG_CFLAGS = $(eval PKG_CFLAGS := $(shell pkg-config --cflags $(LIBS)))$(PKG_CFLAGS)
PKG_LIBS = $(eval PKG_LIBS := $(shell pkg-config --libs $(LIBS)))$(PKG_LIBS)

WARNINGS := -Wall -Wextra -Wshadow -Wconversion -Wvla -Werror=implicit-function-declaration \
            $(if $(WERROR),$(if $(filter opt,$(MODE)),-Werror))
DEFINES := -D_GNU_SOURCE -DRP_VERSION='"$(VERSION)"'
# One set of objects serves the binary and the test library. Calls inside the program stay direct:
# the linker turns position-independent calls to its own symbols into plain ones.
CODEGEN := -g -fPIC -fno-semantic-interposition -fno-strict-aliasing
ifeq ($(MODE),debug)
  SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=undefined
  CODEGEN += -O1 -fno-omit-frame-pointer -DRP_DEBUG=1 $(SANITIZE)
else ifeq ($(MODE),fuzz)
  SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=undefined
  CODEGEN += -O1 -fno-omit-frame-pointer -DRP_DEBUG=1 -fsanitize=fuzzer-no-link $(SANITIZE)
else ifeq ($(MODE),cover)
  SANITIZE := --coverage
  CODEGEN += -O0 -DRP_DEBUG=1 $(SANITIZE)
else
  # What was not trained is compiled as without a profile, not for size.
  PROFILE := $(if $(filter train,$(PGO)),-fprofile-generate -fprofile-update=prefer-atomic) \
             $(if $(filter use,$(PGO)),-fprofile-use -fprofile-partial-training -Wno-missing-profile)
  # gcc clears structs of some size by `rep stos`, which starts slowly; the library's memset does not.
  # (Only gcc for x86 knows the option.)
  MEMSET := -mmemset-strategy=libcall:-1:noalign
  CODEGEN += -O2 -fstack-protector-strong -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 \
             $(shell $(CC) $(MEMSET) -E -x c /dev/null >/dev/null 2>&1 && echo $(MEMSET)) \
             $(if $(LTO),-flto=auto -fno-plt) $(PROFILE)
endif
ALL_CFLAGS = -std=gnu11 $(WARNINGS) $(DEFINES) -Iruntime $(PKG_CFLAGS) $(CODEGEN) $(CFLAGS)
# -E: LuaJIT's ffi.C finds the program's own functions in its dynamic symbol table.
ALL_LDFLAGS = $(CODEGEN) -pie -Wl,-E,--as-needed,-z,relro,-z,now $(LDFLAGS)

.PHONY: all
all: $(BIN) ## build build/rproxy (the default)

.PHONY: lib
lib: $(LIB) ## build the C test library (FLOORS="base http" takes only these floors)

.PHONY: objects
objects: $(OBJECTS)

$(BIN): $(OBJECTS) $(BUILD)/bin.list
	@echo "  LINK  $@"
	@$(CC) $(ALL_LDFLAGS) -o $@ $(OBJECTS) $(PKG_LIBS) -lm -lpthread

$(LIB): $(LIB_OBJECTS) $(BUILD)/lib.list
	@echo "  LINK  $@"
	@$(CC) $(CODEGEN) -shared -Wl,--as-needed $(LDFLAGS) -o $@ $(LIB_OBJECTS) $(PKG_LIBS) -lm -lpthread

# Fuzzers (MODE=fuzz CC=clang, see tools/fuzz.sh) take what they need from an archive.
ifeq ($(MODE),fuzz)
ARCHIVE := $(BUILD)/librproxy.a
# What higher floors read from others, and needs nothing else of them.
LIB_OBJECTS := $(sort $(LIB_OBJECTS) $(addprefix $(OBJ)/runtime/, \
    process/handover.o process/os.o process/plan.o script/bundle.o script/lookup_line.o))
$(ARCHIVE): $(LIB_OBJECTS) $(BUILD)/lib.list
	@rm -f $@ && ar rcs $@ $(LIB_OBJECTS)
$(BUILD)/%_fuzz: spec/fuzz/%_fuzz.c $(ARCHIVE)
	@$(CC) $(ALL_CFLAGS) -fsanitize=fuzzer -MMD -MP -MF $@.d -o $@ $< $(ARCHIVE) $(PKG_LIBS) -lm
-include $(wildcard $(BUILD)/*_fuzz.d)
endif

$(OBJ)/%.o: %.c $(BUILD)/flags.list
	@mkdir -p $(@D)
	@echo "  CC    $<"
	@$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

$(EMBED_O): $(EMBED_C) $(BUILD)/flags.list
	@mkdir -p $(@D)
	@$(CC) $(ALL_CFLAGS) -c -o $@ $<

$(EMBED_C): tools/embed.lua $(LUA_LAYER) $(HEADERS) $(BUILD)/embed.list
	@mkdir -p $(@D)
	@echo "  EMBED $@"
	@CC="$(CC)" $(LUAJIT) tools/embed.lua $@ $(LUA_LAYER)

# A .list holds a list or the flags; it is rewritten only when that changed, so that what depends
# on it is remade when a file comes or goes and not otherwise.
write_if_changed = @mkdir -p $(@D); \
	printf '%s\n' $(1) > $@.tmp; cmp -s $@.tmp $@ && rm -f $@.tmp || mv $@.tmp $@
.PHONY: FORCE
$(BUILD)/bin.list: FORCE
	$(call write_if_changed,$(OBJECTS))
$(BUILD)/lib.list: FORCE
	$(call write_if_changed,$(LIB_OBJECTS))
$(BUILD)/embed.list: FORCE
	$(call write_if_changed,$(LUA_LAYER))
$(BUILD)/flags.list: FORCE
	$(call write_if_changed,'$(subst ','\'',$(CC) $(ALL_CFLAGS))')

-include $(OBJECTS:.o=.d)

# The training: a fixed number of requests of each kind (train.sh), and for what is most frequent the
# program that `make bench-instructions` counts, one request at a time.
PGO_SITES := proxy luanoop luanoop5 lua
.PHONY: pgo
pgo: ## build build/pgo/rproxy for speed, by a profile of the measurements, linked as a whole (gcc)
	@tools/deps.sh run bench
	@rm -rf $(BUILD)/pgo
	@$(MAKE) --no-print-directory -j$(JOBS) BUILD=$(BUILD)/pgo PGO=train all $(BUILD)/pgo/instructions
	@for s in $(PGO_SITES); do $(BUILD)/pgo/instructions spec/bench/sites/$$s.lua 5000 || exit 1; done
	@spec/bench/train.sh $(BUILD)/pgo/rproxy
	@$(MAKE) --no-print-directory -j$(JOBS) BUILD=$(BUILD)/pgo PGO=use LTO=1 all
	@echo $(BUILD)/pgo/rproxy

# ---------------------------------------------------------------- run

# Recipes that first install things build by a second make: it must see the installed pkg-config.
.PHONY: deps
deps: ## install the packages that building and testing need (only what is missing)
	@tools/deps.sh run test

.PHONY: run
run: ## install what is missing, build, serve examples/$(EXAMPLE)/site.lua
	@tools/deps.sh run
	@$(MAKE) --no-print-directory -j$(JOBS) all
	@tools/run-example.sh $(BIN) $(EXAMPLE)

.PHONY: debug
debug: ## build build/debug/rproxy with ASan, UBSan and assertions
	@$(MAKE) --no-print-directory MODE=debug BUILD=$(if $(filter debug,$(MODE)),$(BUILD),$(BUILD)/debug) all

# ---------------------------------------------------------------- test

FAULTS_BUILD = $(if $(filter debug,$(MODE)),$(BUILD),$(BUILD)/debug)
RUN_SPECS = JOBS=$(JOBS) tools/run-specs.sh

.PHONY: test
test: ## all specs on the optimised and the sanitized build, 60 s of fuzzing (T=file: one spec)
	@tools/deps.sh run test
	@$(RUN_SPECS) -b $(BUILD) $(if $(T),$(T),all)

.PHONY: unit
unit: ## the specs that need no running proxy: spec/unit, spec/lua, spec/kit, plugins
	@$(RUN_SPECS) -b $(BUILD) unit

.PHONY: e2e
e2e: ## the specs that run the proxy: spec/e2e, spec/regress, examples
	@$(RUN_SPECS) -b $(BUILD) e2e

.PHONY: matrix
matrix: ## the e2e specs over TLS, HTTP/2, HTTP/2 over TLS and HTTP/2 on both sides, on both builds
	@$(RUN_SPECS) -b $(BUILD) matrix

INTEROP := grpc websocket h2tools browser certs schema testssl
.PHONY: interop
interop: all ## programs of others (gRPC, nghttp2, curl, Chromium, testssl.sh) through rproxy; I="browser certs": those only
	@tools/deps.sh interop
	@cd spec/interop && npm install --no-audit --no-fund --no-package-lock --ignore-scripts --silent
	@bad=; for i in $(or $(I),$(INTEROP)); do echo "== $$i"; \
	    RP_BIN=$(BIN) CHURN=$(CHURN) OUT=$(BUILD)/interop/testssl.txt node spec/interop/$$i.js || bad="$$bad $$i"; \
	done; [ -z "$$bad" ] || { echo "failed:$$bad"; exit 1; }

.PHONY: interop-ktls
interop-ktls: all ## kernel TLS in an emulated machine (qemu-system-x86, apt-get). Not part of test
	@spec/interop/ktls/run.sh $(BIN)

.PHONY: fuzz
fuzz: ## run every fuzzer (T=name: one) for FUZZ_SECONDS (60) each; needs clang
	@CLANG="$(CLANG)" FLOORS="$(FUZZ_FLOORS)" JOBS=$(JOBS) tools/fuzz.sh $(BUILD)/fuzz \
	    $(FUZZ_SECONDS)

.PHONY: corpus
corpus: ## put what the fuzzers found (build/fuzz/found) into spec/fuzz/corpus, minimised (T=name)
	@CLANG="$(CLANG)" FLOORS="$(FUZZ_FLOORS)" MERGE=1 tools/fuzz.sh $(BUILD)/fuzz 0

.PHONY: faults
faults: ## N (10000) schedules of failing system calls (SEED=n: one); PROCESSES=N: runs of whole processes
	@$(MAKE) --no-print-directory -j$(JOBS) MODE=debug BUILD=$(FAULTS_BUILD) all lib
	@$(if $(PROCESSES),tools/faults.sh $(FAULTS_BUILD) processes 1 $(PROCESSES),JOBS=$(JOBS) \
	    $(if $(SEED),RP_FAULT_TABLE= RP_FAULT_TRACE=1 JOBS=1,RP_FAULT_TABLE=1) tools/faults.sh $(FAULTS_BUILD) \
	    $(if $(SEED),$(SEED) $(SEED),0 $$(($(or $(N),10000) - 1))))

.PHONY: cover
cover: ## line coverage of runtime/ by the unit specs
	@tools/cover.sh $(BUILD)/cover

.PHONY: bench
bench: bench-deps ## compare with nginx, haproxy, caddy, varnish, nginx's Lua module and a program that parses nothing (BENCH=scale: see spec/bench/run.lua; bench-page: also write the page of figures)
	@$(MAKE) --no-print-directory all
	@RP_BIN=$(BIN) $(LUAJIT) spec/bench/run.lua $(BENCH)

.PHONY: bench-page
bench-page: bench-deps ## measure everything (a quarter of an hour), or take FROM=results.json, and write docs/reference/performance.md
	@$(MAKE) --no-print-directory all
	@RP_BIN=$(BIN) $(LUAJIT) spec/bench/run.lua $(if $(FROM),--page-from=$(FROM),--page $(BENCH))

.PHONY: bench-deps
bench-deps:
	@tools/deps.sh run test bench peers

.PHONY: chaos
chaos: ## origins that die, hang and vanish, behind rproxy, haproxy and nginx (CHAOS="--rate=2000": see spec/chaos/run.lua)
	@tools/deps.sh run test bench
	@$(MAKE) --no-print-directory all
	@RP_BIN=$(BIN) $(LUAJIT) spec/chaos/run.lua $(CHAOS)

$(BUILD)/instructions: spec/bench/instructions.c $(OBJECTS)
	@echo "  LINK  $@"
	@$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $< $(filter-out %/runtime/main.o,$(OBJECTS)) \
	    $(PKG_LIBS) -lm -lpthread

.PHONY: bench-instructions
bench-instructions: ## count instructions per request, compare with spec/bench/instructions.txt
	@tools/deps.sh run bench
	@$(MAKE) --no-print-directory $(BUILD)/instructions
	@spec/bench/instructions.sh $(BUILD)/instructions $(UPDATE)

# ---------------------------------------------------------------- look at the sources

.PHONY: lint
lint: ## warnings as errors (gcc, clang), floors, banned names, luacheck, clang-format, paths
	@CC="$(CC)" CLANG="$(CLANG)" tools/lint.sh

.PHONY: fmt
fmt: ## rewrite the C sources in the one style
	@find runtime spec -name node_modules -prune -o \( -name '*.c' -o -name '*.h' \) -print | xargs -r grep -L 'written by tools/' | \
	    xargs -r clang-format -i

.PHONY: sizes
sizes: ## report lengths of files and functions, and prototypes without a comment
	@$(LUAJIT) tools/sizes.lua

.PHONY: docs
docs: ## generate docs/reference from the option table
	@if [ -f tools/docs.lua ]; then $(LUAJIT) tools/docs.lua; else echo "docs: no generator yet"; fi

# ---------------------------------------------------------------- ship

.PHONY: dist
dist: ## dist/rproxy-VERSION.tar.gz of the last commit
	@mkdir -p dist
	@git archive --format=tar.gz --prefix=rproxy-$(VERSION)/ -o dist/rproxy-$(VERSION).tar.gz HEAD
	@echo dist/rproxy-$(VERSION).tar.gz

.PHONY: ship
ship: all ## check that install, uninstall and dist do what they should (in a temporary folder)
	@JOBS=$(JOBS) tools/ship.sh $(BUILD)

# The program holds the Lua layer and the plugins; what goes to share/ is there to be read.
SHARE := $(DESTDIR)$(PREFIX)/share
UNIT_DIR ?= $(DESTDIR)$(PREFIX)/lib/systemd/system

.PHONY: install
install: all ## install under PREFIX (/usr/local), below DESTDIR
	install -D -m 755 $(BIN) $(DESTDIR)$(PREFIX)/bin/rproxy
	@for f in conf/site.lua $$(find plugins examples types -type f); do \
	    install -D -m 644 $$f $(SHARE)/rproxy/$$f || exit 1; done
	@for f in README.md LICENSE CHANGELOG.md $$(find docs -type f 2>/dev/null); do \
	    [ ! -f $$f ] || install -D -m 644 $$f $(SHARE)/doc/rproxy/$$f || exit 1; done
	@for f in $$(find docs conf -name '*.8' 2>/dev/null); do \
	    install -D -m 644 $$f $(SHARE)/man/man8/$$(basename $$f) || exit 1; done
	@install -d $(UNIT_DIR)
	sed 's|@PREFIX@|$(PREFIX)|g' conf/rproxy.service >$(UNIT_DIR)/rproxy.service
	@chmod 644 $(UNIT_DIR)/rproxy.service

.PHONY: uninstall
uninstall: ## remove what install put there
	rm -rf $(DESTDIR)$(PREFIX)/bin/rproxy $(SHARE)/rproxy $(SHARE)/doc/rproxy \
	    $(SHARE)/man/man8/rproxy.8 $(UNIT_DIR)/rproxy.service

.PHONY: clean
clean: ## remove everything that was built
	rm -rf build dist

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' Makefile
