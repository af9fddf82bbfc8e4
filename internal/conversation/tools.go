package conversation

import (
	"fmt"
	"strings"

	"stillhouse/internal/rowfile"
)

// Tools writes a row's tools as JSON: those of a list, or of its text. It is nil where there are none.
func Tools(v any) (*string, error) {
	if s, ok := v.(string); ok {
		if strings.TrimSpace(s) == "" {
			return nil, nil
		}
		v = nil
		if err := rowfile.Decode([]byte(s), &v); err != nil {
			return nil, fmt.Errorf("the tools are not JSON: %w", err)
		}
	}
	if v == nil {
		return nil, nil
	}
	list, ok := v.([]any)
	if !ok {
		return nil, fmt.Errorf("the tools are %s: they must be a list", KindOf(v))
	}
	if len(list) == 0 {
		return nil, nil
	}
	b, err := rowfile.Encode(list)
	if err != nil {
		return nil, err
	}
	s := string(b)
	return &s, nil
}
