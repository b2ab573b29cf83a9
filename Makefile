GOLANGCI = github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
VERSION  = $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
FUZZTIME = 10s
SOAK     = 30m
COMPOSE  = $(shell command -v docker-compose || echo docker compose)

.PHONY: help demo run build test race fuzz bench soak lint docker up down

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## server and test producer: moving images, nothing but Go needed
	go run . demo

run: ## the server, set by .env and the environment
	go run .

build: ## the static binary ./image-streamer
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.release=$(VERSION)" -o image-streamer .

test: ## every test; gets redis-server, ffmpeg, chromium, prometheus and nginx first if they are missing
	@for program in redis-server ffmpeg chromium prometheus nginx; do scripts/needs $$program; done
	go test -count=1 -p 4 -parallel 4 -timeout 300s ./...

race: ## every test under the race detector
	go test -race -count=1 -parallel 4 -timeout 600s ./...

fuzz: ## each fuzz target for FUZZTIME
	@set -e; for package in $$(grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n 1 dirname | sort -u); do \
	  listed=$$(go test -list '^Fuzz' $$package); \
	  for target in $$(echo "$$listed" | grep '^Fuzz'); do \
	    echo "$$package $$target for $(FUZZTIME)"; \
	    go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$package; \
	  done; \
	done

bench: ## the ratios of bench/README.md
	go test -run '^$$' -bench . -benchtime 1x -timeout 30m ./bench

soak: ## mixed load for SOAK, and what it leaves behind
	SOAK=$(SOAK) go test -run '^$$' -bench Soak -benchtime 1x -timeout 100m ./e2e

lint: ## golangci-lint (with go vet, staticcheck and gofumpt) and luacheck
	go run $(GOLANGCI) run ./...
	luacheck -q lua

docker: ## the container image
	docker build --build-arg VERSION=$(VERSION) -t image-streamer .

up: ## server, Redis and test producer in containers, on port HTTP_PORT (80)
	VERSION=$(VERSION) $(COMPOSE) up --build

down: ## end them and remove what they hold
	$(COMPOSE) down -v
