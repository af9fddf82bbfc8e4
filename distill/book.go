package distill

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"stillhouse"
)

// A FileBook is a [Book] in a file: one JSON object, written over in place.
//
// The file is smaller than a page, so that what one call writes is there as a whole when the process is killed right
// after it, and never by half; it costs microseconds and can be done for every request. A power cut may take the last
// moments' counts with it, as it may their answers (see [Store]).
type FileBook struct {
	path string
	file *os.File
	size int // of what was written last
}

// maxBook is the size of a page, beyond which a write could be cut in two.
const maxBook = 4096

// OpenBook opens the book at path, and makes it when it is not there.
func OpenBook(path string) (*FileBook, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, stillhouse.Invalidf("open the account of requests: %v", err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &FileBook{path: path, file: f, size: int(info.Size())}, nil
}

// ReadBook is what the book at path holds, also while it is written; nothing where there is none.
func ReadBook(path string) (c Counters, there bool, err error) {
	for range 3 { // a reader can see half of a write
		data, readErr := os.ReadFile(path)
		if errors.Is(readErr, fs.ErrNotExist) {
			return Counters{}, false, nil
		}
		if readErr != nil {
			return Counters{}, false, readErr
		}
		if len(bytes.TrimSpace(data)) == 0 {
			return Counters{}, false, nil
		}
		if err = json.Unmarshal(data, &c); err == nil {
			return c, true, nil
		}
	}
	return Counters{}, false, stillhouse.Invalidf("%s, which says what the run has spent, is damaged (%w): put it right, or remove it to begin counting at nothing", path, err)
}

// Load is what was saved last.
func (b *FileBook) Load() (Counters, error) {
	c, _, err := ReadBook(b.path)
	return c, err
}

// Save writes the counters.
func (b *FileBook) Save(c Counters) error {
	data, err := json.Marshal(c)
	if err != nil {
		return err
	}
	if len(data) >= maxBook {
		return fmt.Errorf("%s: %d bytes of counters are more than fit", b.path, len(data))
	}
	data = append(data, bytes.Repeat([]byte{' '}, max(0, b.size-1-len(data)))...)
	data = append(data, '\n')
	if _, err := b.file.WriteAt(data, 0); err != nil {
		return stillhouse.Transientf("write %s, which says what the run has spent: %w: free some space and run again; every answer is kept", b.path, err)
	}
	b.size = len(data)
	return nil
}

// Close syncs the file and closes it.
func (b *FileBook) Close() error { return errors.Join(b.file.Sync(), b.file.Close()) }
