package config

import (
	"fmt"
	"strings"
	"text/tabwriter"
)

// HelpTable lists every setting for the help text: name, default and meaning, and below them what is allowed.
func HelpTable() string {
	var out strings.Builder
	t := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	for _, s := range settings {
		fallback := s.fallback
		if fallback == "" {
			fallback = "(empty)"
		}
		fmt.Fprintf(t, "  %s\t%s\t%s\n", s.name, fallback, s.meaning)
		fmt.Fprintf(t, "  \t\t  %s\n", s.allowed)
	}
	t.Flush()
	return out.String()
}
