package reward

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"
)

// maxVerdict is how much of a judge's answer is read, in bytes.
const maxVerdict = 1 << 20

// readMark reads a mark on a scale.
func readMark(a Answer, least, most float64) (mark float64, reason string, err error) {
	said, reason, err := readVerdict(a, "score")
	if err != nil {
		return 0, "", err
	}
	number, of, fraction := strings.Cut(said, "/")
	if mark, err = strconv.ParseFloat(strings.TrimSpace(number), 64); err != nil || !plainNumber.MatchString(strings.TrimSpace(number)) {
		return 0, "", fmt.Errorf("the score %q is not a number", shorten(said))
	}
	if fraction {
		if n, err := strconv.ParseFloat(strings.TrimSpace(of), 64); err != nil || n != most {
			return 0, "", fmt.Errorf("the score %q is not on a scale up to %v", shorten(said), most)
		}
	}
	if math.IsNaN(mark) || mark < least || mark > most {
		return 0, "", fmt.Errorf("the score %v is not within %v to %v", mark, least, most)
	}
	return mark, reason, nil
}

var plainNumber = regexp.MustCompile(`^[-+]?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?$`)

// readChoice reads which of two answers is better: A, B or tie.
func readChoice(a Answer) (choice, reason string, err error) {
	said, reason, err := readVerdict(a, "better")
	if err != nil {
		return "", "", err
	}
	switch choice = strings.ToLower(said); choice {
	case "a", "b":
		return strings.ToUpper(choice), reason, nil
	case "tie":
		return choice, reason, nil
	}
	return "", "", fmt.Errorf("the better one is %q, which is neither A, B nor tie", shorten(said))
}

// readVerdict finds what a judge's answer says by a name, and its reason: it is a JSON object with this name, or its last line
// is "Name: value". An answer that says several things is none.
func readVerdict(a Answer, name string) (said, reason string, err error) {
	text := strings.TrimSpace(strings.ToValidUTF8(a.Text, "\uFFFD"))
	switch {
	case len(text) > maxVerdict:
		return "", "", fmt.Errorf("the judge said more than %d bytes", maxVerdict)
	case a.Truncated: // of a number there may be the first digit
		return "", "", fmt.Errorf("the judge was cut off (max_tokens): %q", shorten(text))
	case text == "":
		return "", "", errors.New("the judge said nothing")
	}
	if fenced := fencedObject.FindStringSubmatch(text); fenced != nil {
		text = fenced[1]
	}
	if text[0] == '{' {
		return readObject(text, name)
	}
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		m := verdictLine.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil || !strings.EqualFold(m[1], name) {
			if i == len(lines)-1 {
				return "", "", fmt.Errorf("the judge did not end with %s: %q", name, shorten(line))
			}
			continue
		}
		if said != "" && !strings.EqualFold(said, m[2]) {
			return "", "", fmt.Errorf("the judge gave several of %s: %q and %q", name, shorten(said), shorten(m[2]))
		}
		said = m[2]
	}
	return said, oneLine(strings.Join(lines[:len(lines)-1], " ")), nil
}

var (
	fencedObject = regexp.MustCompile("(?s)^```(?:json)?[ \\t]*\\n(\\{.*\\})\\s*```$")
	verdictLine  = regexp.MustCompile(`^[*_#> ]*([A-Za-z]+)[*_ ]*:[*_ ]*(.*?)[*_ .]*$`)
)

// readObject reads a verdict that is a JSON object.
func readObject(text, name string) (said, reason string, err error) {
	d := json.NewDecoder(strings.NewReader(text))
	notJSON := func(err error) error {
		return fmt.Errorf("the judge said %q, which is not a JSON object: %s", shorten(text), shorten(err.Error()))
	}
	if _, err := d.Token(); err != nil {
		return "", "", notJSON(err)
	}
	var values []json.RawMessage
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return "", "", notJSON(err)
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return "", "", notJSON(err)
		}
		switch key {
		case name:
			values = append(values, value)
		case "reason":
			_ = json.Unmarshal(value, &reason) // one that is no text is none
		}
	}
	if _, err := d.Token(); err != nil {
		return "", "", notJSON(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return "", "", fmt.Errorf("the judge said more after a JSON object: %q", shorten(text))
	}
	if len(values) != 1 {
		return "", "", fmt.Errorf("there are %d of %s in %q", len(values), name, shorten(text))
	}
	value := bytes.TrimSpace(values[0])
	if name != "score" {
		if err := json.Unmarshal(value, &said); err != nil {
			return "", "", fmt.Errorf("%s is %q, which is no text", name, shorten(string(value)))
		}
		return strings.TrimSpace(said), oneLine(reason), nil
	}
	return string(value), oneLine(reason), nil
}

// oneLine makes a reason fit for an evidence.
func oneLine(s string) string {
	return shortenTo(strings.Join(strings.Fields(shortenTo(s, 2000)), " "), 160)
}
