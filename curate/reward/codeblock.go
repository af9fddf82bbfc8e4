package reward

import "strings"

// A codeBlock is a fenced block of CommonMark: what stands between lines of three or more backticks or tildes.
type codeBlock struct{ language, text string }

// codeBlocks finds the fenced blocks of a text. One that is not closed goes to the end of the text. The time is linear.
func codeBlocks(text string) (blocks []codeBlock) {
	var open string // the fence; empty outside of a block
	var indent int
	var b strings.Builder
	language := ""
	for line := range strings.Lines(text) {
		bare := strings.TrimLeft(line, " ")
		fence := fenceOf(bare)
		rest := strings.TrimSpace(bare[len(fence):])
		switch {
		case open == "" && fence != "" && !(fence[0] == '`' && strings.Contains(rest, "`")):
			open, indent = fence, len(line)-len(bare)
			word, _, _ := strings.Cut(rest, " ")
			language = strings.ToLower(strings.Trim(word, "{}."))
		case open != "" && fence != "" && fence[0] == open[0] && len(fence) >= len(open) && rest == "":
			blocks = append(blocks, codeBlock{language, b.String()})
			b.Reset()
			open = ""
		case open != "":
			for n := 0; n < indent && strings.HasPrefix(line, " "); n++ {
				line = line[1:]
			}
			b.WriteString(line)
		}
	}
	if open != "" {
		blocks = append(blocks, codeBlock{language, b.String()})
	}
	return blocks
}

// fenceOf is the run of three or more backticks or tildes that a line begins with.
func fenceOf(line string) string {
	for _, mark := range []string{"`", "~"} {
		if n := len(line) - len(strings.TrimLeft(line, mark)); n >= 3 {
			return line[:n]
		}
	}
	return ""
}

// languageNames are names of languages that mean the same.
var languageNames = map[string][]string{
	"python": {"py", "python3", "python2"}, "javascript": {"js", "node"}, "typescript": {"ts"}, "bash": {"sh", "shell"}, "ruby": {"rb"}, "c++": {"cpp"},
}

// chooseBlock takes the last block in a language, or the longest one; blocks that name none count where none names it.
func chooseBlock(blocks []codeBlock, language string, longest bool) (code string, ok bool) {
	is := func(name string) bool {
		if name == language {
			return true
		}
		for _, other := range languageNames[language] {
			if name == other {
				return true
			}
		}
		return false
	}
	for _, fits := range []func(string) bool{is, func(name string) bool { return name == "" }} {
		for _, b := range blocks {
			if fits(b.language) && strings.TrimSpace(b.text) != "" && (!ok || !longest || len(b.text) > len(code)) {
				code, ok = b.text, true
			}
		}
		if ok {
			break
		}
	}
	return code, ok
}
