// Package ingest reads images out of request bodies, within a memory budget and above a least data rate.
//
// Every request that brings images begins an Upload of the one Budget and ends it when its images are stored. ReadImage
// returns a body that is one image, ReadForm the one file of a form, and a Splitter the images of a long body, each the
// moment it is known to be whole. Each of them returns a whole image or an error, never a part of an image, and
// reserves the memory for an image before it takes that memory. Multipart bodies have one reader, partReader.
//
// Errors for the client are of type *httpserver.Error. StreamError makes one from an error that ended a long body.
package ingest
