package reward

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// What JSON of a model is not read: it would cost more than it is worth.
const (
	maxDepth    = 200 // lists and objects in each other
	maxNumber   = 400 // characters of a number
	maxExponent = 400 // of ten, either sign
)

var errTooMuch = errors.New("it is JSON beyond what is read")

// readJSON reads one JSON value of a model, numbers as [json.Number]. An error that is errTooMuch says nothing about
// whether the text is JSON.
func readJSON(text string) (v any, err error) {
	if len(text) > maxReply {
		return nil, fmt.Errorf("%w: more than %d bytes", errTooMuch, maxReply)
	}
	if err := bounded(text); err != nil {
		return nil, err
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return nil, jsonProblem(err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("not JSON: something follows the value at byte %d", d.InputOffset())
	}
	return v, nil
}

// bounded finds what is too deep or too large, without building anything. What is no JSON is left to the decoder.
func bounded(text string) error {
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[' || c == '{':
			if depth++; depth > maxDepth {
				return fmt.Errorf("%w: more than %d lists and objects in each other", errTooMuch, maxDepth)
			}
		case c == ']' || c == '}':
			depth--
		case c == '-' || '0' <= c && c <= '9':
			end := i + 1
			for end < len(text) && strings.IndexByte("0123456789+-.eE", text[end]) >= 0 {
				end++
			}
			if err := boundedNumber(text[i:end]); err != nil {
				return err
			}
			i = end - 1
		}
	}
	return nil
}

func boundedNumber(text string) error {
	if len(text) > maxNumber {
		return fmt.Errorf("%w: a number of %d characters", errTooMuch, len(text))
	}
	if at := strings.IndexAny(text, "eE"); at >= 0 {
		e, err := strconv.Atoi(text[at+1:])
		if errors.Is(err, strconv.ErrRange) || err == nil && (e > maxExponent || e < -maxExponent) {
			return fmt.Errorf("%w: the number %s", errTooMuch, shorten(text))
		}
	}
	return nil
}

func jsonProblem(err error) error {
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf("not JSON: %s at byte %d", strings.TrimPrefix(syntax.Error(), "json: "), syntax.Offset)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("not JSON: it ends too soon")
	}
	return fmt.Errorf("not JSON: %w", err)
}

var fence = regexp.MustCompile("(?s)```[ \t]*([A-Za-z0-9_+-]*)[ \t]*\r?\n(.*?)\r?\n?[ \t]*```")

// jsonIn reads the JSON of an answer: the whole of it, or its one block in fences that is JSON by its name or has none.
func jsonIn(text string) (any, error) {
	v, err := readJSON(text)
	if err == nil || errors.Is(err, errTooMuch) || !strings.Contains(text, "```") {
		return v, err
	}
	var blocks []string
	for _, m := range fence.FindAllStringSubmatch(text, -1) {
		if name := strings.ToLower(m[1]); name == "" || name == "json" {
			blocks = append(blocks, m[2])
		}
	}
	switch len(blocks) {
	case 0:
		return nil, err
	case 1:
		return readJSON(strings.TrimSpace(blocks[0]))
	}
	return nil, fmt.Errorf("not JSON: it has %d blocks of it", len(blocks))
}

// canonical writes a JSON value so that values are the same text when they are the same up to the order of keys and the
// format of numbers: 1, 1.0 and 1e0 are one number.
func canonical(v any) string {
	var b bytes.Buffer
	writeCanonical(&b, v)
	return b.String()
}

func writeCanonical(b *bytes.Buffer, v any) {
	switch v := v.(type) {
	case map[string]any:
		b.WriteByte('{')
		for i, k := range slices.Sorted(maps.Keys(v)) {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(strconv.Quote(k))
			b.WriteByte(':')
			writeCanonical(b, v[k])
		}
		b.WriteByte('}')
	case []any:
		b.WriteByte('[')
		for i, e := range v {
			if i > 0 {
				b.WriteByte(',')
			}
			writeCanonical(b, e)
		}
		b.WriteByte(']')
	case json.Number:
		if n, ok := new(big.Rat).SetString(v.String()); ok {
			b.WriteString(n.RatString())
		} else {
			b.WriteString(v.String())
		}
	case string:
		b.WriteString(strconv.Quote(v))
	default: // true, false, null
		fmt.Fprint(b, v)
	}
}

// brief is a JSON value for an evidence.
func brief(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return shorten(string(b))
}
