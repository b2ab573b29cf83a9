package config

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"regexp"

	"github.com/joho/godotenv"
)

// byteOrderMark begins the files of some editors.
var byteOrderMark = []byte("\ufeff")

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// ReadDotenv reads the variables of the file .env in the working directory. Without that file there are none. An error
// never quotes the file, which may hold a password.
func ReadDotenv() (map[string]string, error) {
	text, err := os.ReadFile(".env")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	variables, err := godotenv.UnmarshalBytes(bytes.TrimPrefix(text, byteOrderMark))
	for name := range variables {
		if !variableName.MatchString(name) {
			err = errNotAllowed
		}
	}
	if err != nil {
		return nil, errors.New(".env is malformed: allowed are lines of NAME=value and # comments")
	}
	return variables, nil
}
