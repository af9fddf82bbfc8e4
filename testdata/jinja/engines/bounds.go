package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
)

const (
	patience  = 10 * time.Second
	allowance = 512 << 20 // bytes of memory
	exhausted = 3         // the exit code of a process that took more
)

// hostile are templates that a chat template engine must stop by itself.
var hostile = []struct{ name, source string }{
	{"endless loop", strings.Repeat("{% for x in range(100000) %}", 4) + strings.Repeat("{% endfor %}", 4)},
	{"endless macro", "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"},
	{"macro by another name", "{% set ns = namespace() %}{% macro m() %}{{ ns.f() }}{% endmacro %}{% set ns.f = m %}{{ ns.f() }}"},
	{"doubling string", "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}"},
	{"long range", "{{ range(1000000000000) | length }}"},
	{"deep brackets", "{{ " + strings.Repeat("(", 1000000) + "1" + strings.Repeat(")", 1000000) + " }}"},
	{"deep value", "{% set ns = namespace(x=[]) %}{% for i in range(400000) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x | string | length }}"},
}

// bounds renders each in a process of its own and says how that ended.
func (e engine) bounds() {
	for _, h := range hostile {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		c := exec.CommandContext(ctx, os.Args[0], e.name, h.name)
		out, err := c.CombinedOutput()
		ended := strings.TrimSpace(string(out))
		switch {
		case ctx.Err() != nil:
			ended = "still running after " + patience.String()
		case c.ProcessState.ExitCode() == exhausted:
			ended = fmt.Sprintf("took more than %d MiB", allowance>>20)
		case err != nil && strings.Contains(ended, "stack overflow"):
			ended = "the process ended: stack overflow"
		case err != nil:
			ended = err.Error()
		}
		cancel()
		fmt.Printf("%s: %s: %.80s\n", e.name, h.name, ended)
	}
}

// attack renders one hostile template in this process.
func attack(name, what string) {
	debug.SetMaxStack(64 << 20)
	go func() {
		var m runtime.MemStats
		for ; ; time.Sleep(20 * time.Millisecond) {
			if runtime.ReadMemStats(&m); m.Sys > allowance {
				os.Exit(exhausted)
			}
		}
	}()
	for _, e := range engines {
		for _, h := range hostile {
			if e.name == name && h.name == what {
				text, err := e.safely(h.source, &object{})
				if err != nil {
					io.WriteString(os.Stdout, "the error "+err.Error())
				} else {
					fmt.Printf("a text of %d bytes", len(text))
				}
				return
			}
		}
	}
	log.Fatal("no such engine or template")
}
