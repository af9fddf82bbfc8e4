// Package loopback tells what only this machine can reach.
package loopback

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// Is says whether a host, a name or an address without a port, is this machine's loopback: localhost, 127.0.0.0/8 or ::1.
// An empty host, which listens on all interfaces, is not.
func Is(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// Only passes on requests whose Host header names the loopback, and lets refuse answer all others: a web page can make
// its own name lead to this machine, and with it read what a server on the loopback says.
func Only(next, refuse http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		if Is(strings.Trim(host, "[]")) {
			next(w, r)
		} else {
			refuse(w, r)
		}
	})
}
